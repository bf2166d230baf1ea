"""The demo model: a data set of drawn shapes, the network, and the script that trains it (run from the repository)."""
