"""The store: series (or latents) in a sharded Zarr v3 array that never returns damaged or missing rows.

On disk it is standard Zarr, readable by any Zarr v3 library. Zarr itself answers a deleted shard with fill
values and reads shuffled rows hundreds of times slower than a memory map, so shards are written and read here
directly: a shard is a row of inner chunks, each followed by its crc32c, then an index (offset, length of each
chunk) with its own crc32c. A manifest beside the arrays lists every shard; it is checked when the store is
opened, and each chunk when it is first touched. Arrays of other tools are read by data/formats/zarrs.py.
"""
