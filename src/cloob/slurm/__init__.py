"""Does the cluster profile fit this cluster?"""
