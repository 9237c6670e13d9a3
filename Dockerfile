# docker build -t superpoint-bench .
# docker run --rm -v "$PWD/results:/work/results" superpoint-bench                 the default comparison
# docker run --rm -v "$PWD/results:/work/results" superpoint-bench methods=all     with overrides
# The digest is that of 3.12.13 for all platforms; a newer one: docker buildx imagetools inspect python:3.12-slim-bookworm
FROM python:3.12-slim-bookworm@sha256:d50fb7611f86d04a3b0471b46d7557818d88983fc3136726336b2a4c657aa30b

# OpenCV and TensorFlow need libGL, GLib and OpenMP.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libgl1 libglib2.0-0 libgomp1 \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY bench ./bench
COPY conf ./conf
COPY datasets ./datasets
COPY results/published ./results/published
RUN python -m pip install --no-cache-dir .

RUN useradd --create-home bench && install -d -o bench -g bench /work /work/results /work/datasets
USER bench
WORKDIR /work
COPY --chown=bench:bench baselines ./baselines
ENV BENCH_CACHE=/work/.cache
VOLUME ["/work/results", "/work/datasets"]
ENTRYPOINT ["bench"]
