# The same steps as on a machine: apt packages, npm ci, build. Run it with the host's network, so that portals are real:
#   docker run --network host -v ashlar:/var/lib/ashlar -v /etc/ashlar:/etc/ashlar:ro --security-opt seccomp=unconfined ashlar
# (Docker's standard seccomp profile forbids io_uring. Without the option ashlar works, with threads, more slowly.)
FROM node:20-bookworm AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ make cmake liburing-dev \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /opt/ashlar
COPY package.json package-lock.json ./
COPY scripts scripts
RUN mkdir src && npm ci --no-audit --no-fund
COPY CMakeLists.txt binding.gyp tsconfig.json ./
COPY native native
RUN npm run build:native
COPY src src
RUN npm run build:ts && npm prune --omit=dev --no-audit --no-fund

FROM node:20-bookworm-slim
WORKDIR /opt/ashlar
COPY --from=build /opt/ashlar/package.json ./
COPY --from=build /opt/ashlar/node_modules node_modules
COPY --from=build /opt/ashlar/dist/src dist/src
COPY --from=build /opt/ashlar/build/cmake/Release build/cmake/Release
# An id that the image came with would be the same on every machine that runs it.
RUN rm -f /etc/machine-id
RUN ln -s /opt/ashlar/dist/src/cli/main.js /usr/local/bin/ashlar \
 && chmod +x /opt/ashlar/dist/src/cli/main.js
VOLUME /var/lib/ashlar
EXPOSE 3260
STOPSIGNAL SIGTERM
ENTRYPOINT ["ashlar"]
CMD ["serve"]
