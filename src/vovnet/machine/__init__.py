"""GPUs of this machine, held by one command at a time, and commands that are run to their end."""
