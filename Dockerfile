# weir as a container image: one binary, no shell, not root.
#
#   docker build -t weir:0.1.0 .
#
# Both base images are build arguments, for mirrors and for pinning by digest:
#
#   docker build --build-arg RUNTIME=gcr.io/distroless/cc-debian12:nonroot@sha256:… -t weir:0.1.0 .
#
# The binary is linked against the build image's glibc and libgcc: the runtime image must have both,
# the glibc no older. With no shell there, a probe or a preStop hook calls the binary itself:
# ["/weir", "healthcheck"], ["/weir", "drain"].

ARG BUILDER=docker.io/library/rust:1-bookworm
ARG RUNTIME=gcr.io/distroless/cc-debian12:nonroot

FROM ${BUILDER} AS build
WORKDIR /src
COPY . .
RUN cargo build --release --locked --bin weir

FROM ${RUNTIME}
LABEL org.opencontainers.image.title="weir" \
      org.opencontainers.image.description="A sidecar that keeps a backend alive under any load" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="MIT OR Apache-2.0"
COPY --from=build /src/target/release/weir /weir
# By number, so that runAsNonRoot can be checked; it is `nonroot` in the distroless images.
USER 65532:65532
# Requests, and the admin port.
EXPOSE 8000 9900
ENTRYPOINT ["/weir"]
