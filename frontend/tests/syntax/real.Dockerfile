# syntax=docker/dockerfile:1.7
# check=skip=JSONArgsRecommended;error=true

ARG GO_VERSION=1.24
ARG ALPINE_VERSION=3.21 \
    XX_VERSION=1.6.1

# the cross-compilation helpers
FROM --platform=$BUILDPLATFORM tonistiigi/xx:${XX_VERSION} AS xx

FROM --platform=$BUILDPLATFORM golang:${GO_VERSION}-alpine${ALPINE_VERSION} AS build-base
SHELL ["/bin/ash", "-eo", "pipefail", "-c"]
RUN apk add --no-cache \
      # to fetch modules
      git \
      # to link
      clang lld
COPY --from=xx / /
WORKDIR /src
ENV CGO_ENABLED=0 \
    GOFLAGS="-mod=readonly -trimpath" GOPROXY='https://proxy.example|direct'

FROM build-base AS build
ARG TARGETPLATFORM
COPY --link go.mod go.sum ./
RUN --mount=type=cache,target=/go/pkg/mod go mod download
COPY . .
RUN --mount=type=bind,target=. \
    --mount=type=cache,target=/root/.cache,id=build-$TARGETPLATFORM,sharing=locked \
    --mount=type=secret,id=netrc,target=/root/.netrc,required \
    --network=none <<EOF
  set -ex
  xx-go build -o /out/app ./cmd/app
  xx-verify --static /out/app
EOF

FROM scratch AS release
LABEL org.opencontainers.image.title="app" \
      org.opencontainers.image.description="An application with \"quotes\" and \
a long description"
COPY --from=build --chown=65534:65534 --chmod=0755 /out/app /app
COPY <<-config.toml <<'motd' /etc/app/
	[server]
	listen = "${ADDRESS:-:8080}"
	config.toml
Costs $5.
motd
ADD --checksum=sha256:24454f830cdb571e2c4ad15481119c43b3cafd48dd869a9b2945d1036d1dc68d https://example.com/ca.pem /etc/ssl/
EXPOSE 8080 9090/udp
VOLUME ["/var/lib/app"]
USER 65534:65534
STOPSIGNAL SIGINT
HEALTHCHECK --interval=30s --timeout=5s --start-period=1m --retries=3 CMD ["/app", "health"]
ONBUILD COPY --chown=65534 plugins/ /plugins/
ENTRYPOINT ["/app"]
CMD ["serve", "--config", "/etc/app/config.toml"]
