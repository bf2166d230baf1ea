"""The command line. A door: it reads arguments and prints, and leaves the work to the library."""
