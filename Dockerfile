# The same image as `cargo xtask image` makes, for people who use docker or buildah:
#
#     cargo xtask image --all
#     docker buildx build --platform linux/amd64,linux/arm64,linux/arm/v7,linux/arm/v5 .
#
# Nothing is built here: each platform's one layer is unpacked as it is, links, owners and times included.
# FLAVOUR is router, tiny or full, with -shell and -raw behind it as the image has them.
FROM scratch
ARG TARGETARCH
ARG TARGETVARIANT
ARG FLAVOUR=router
ADD dist/rootfs/${FLAVOUR}-${TARGETARCH}${TARGETVARIANT}.tar /
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
WORKDIR /
VOLUME ["/var/lib/tailscale"]
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=120s --timeout=20s --start-period=60s --retries=3 CMD ["/usr/bin/containerboot", "healthcheck"]
ENTRYPOINT ["/usr/bin/containerboot"]
