//! LocalAPI types, client and server framing over a unix socket
