"""Downloads become verified webdataset shards with an index."""
