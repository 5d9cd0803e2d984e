"""Every command, option and help text. Each function hands its parameters to the command's own module in `commands`."""
