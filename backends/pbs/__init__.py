"""PBS: OpenPBS and PBS Pro, and Torque where its dialect differs, through the command-line tools."""
