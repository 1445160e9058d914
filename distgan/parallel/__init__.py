"""Many processes as one: launch, devices, threads, precision, reductions, and the update of a network.

The only home of Accelerate, which starts the process group and picks the device for whichever launcher was
used; `zero.py` beside this file is the only home of DeepSpeed, and is read when a config asks for it.
Plain networks go in, and the same networks come out ready: they can be called in any phase, as often as
wanted, whole or in parts, because nothing hangs on their forward pass.
"""
