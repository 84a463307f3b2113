//! Network namespaces with real headscale and Go nodes, for tests, bench and hand work
