FROM python:3.13-slim
RUN mkdir /prometheus && chown nobody /prometheus
COPY prometheus /bin/prometheus
COPY wget.py /usr/bin/wget
USER nobody
VOLUME /prometheus
ENTRYPOINT ["/bin/prometheus"]
