# Pushpin as it is tested with flychat: Debian 12's, with the two files of this folder. compose.yaml builds it.
# Another release is not tested.

FROM debian:12-slim
RUN apt-get update && apt-get install -y --no-install-recommends pushpin && rm -rf /var/lib/apt/lists/*
WORKDIR /srv/pushpin
COPY deploy/pushpin.conf deploy/routes ./
# In the network of the containers, the app is "app", and its publications come from there.
RUN sed -i 's/^push_in_http_addr=.*/push_in_http_addr=0.0.0.0/' pushpin.conf
RUN sed -i 's/127\.0\.0\.1:3000/app:3000/' routes
RUN chown 65532:65532 .
USER 65532:65532
EXPOSE 7999
CMD ["pushpin", "--config=pushpin.conf"]
