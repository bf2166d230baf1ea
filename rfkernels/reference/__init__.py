"""The ops in plain NumPy, written from their definitions: what every device and instruction set is compared with."""
