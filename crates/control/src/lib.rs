//! Control client: Noise, HTTP/2, registration and the map stream
