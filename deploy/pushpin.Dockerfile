# Debian 12's Pushpin, 1.36, with its files of this folder. compose.yaml builds it.
# For 1.41: debian:sid-slim or ubuntu:26.04, and pushpin.conf in the place of pushpin-1.36.conf.

FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends pushpin && rm -rf /var/lib/apt/lists/*
WORKDIR /srv/pushpin
COPY deploy/pushpin-1.36.conf deploy/routes ./
# In the network of the containers, the app is "app", and clients and publications come from there.
RUN sed -i 's/^http_port=.*/http_port=7999/; s/^push_in_http_addr=.*/push_in_http_addr=0.0.0.0/' pushpin-1.36.conf
RUN sed -i 's/127\.0\.0\.1:3000/app:3000/' routes
RUN chown 65532:65532 .
USER 65532:65532
EXPOSE 7999
CMD ["pushpin", "--config=pushpin-1.36.conf"]
