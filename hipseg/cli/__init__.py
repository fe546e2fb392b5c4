"""The command line: thin click commands, one module a command."""
