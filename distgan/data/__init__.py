"""Series on disk and on their way to the networks: ingest -> store -> scaling -> loader."""
