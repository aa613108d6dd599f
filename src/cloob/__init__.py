"""CLOOB, reproduced: download, shards, train, evaluate, report."""
