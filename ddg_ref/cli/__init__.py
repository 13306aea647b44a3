"""The command line: one file per command. Options of `train` are the fields of Config."""
