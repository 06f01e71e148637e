"""The subcommands: each is a `vovnet.commands.common.Command` that `vovnet.cli` finds by name."""
