"""The ops in plain NumPy, written from their definitions. Tests compare every implementation with these."""
