"""Pack downloaded images into verified webdataset shards, each with an index for random access."""
