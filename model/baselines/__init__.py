"""Reference methods that every figure of the network is shown beside."""
