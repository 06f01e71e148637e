"""The machine on which a command runs: who else is at work there, and what its environment says.

Which GPUs it has and who holds them is told by `gpu_leases`, a project of its own beside this one.
"""
