FROM python:3.13-slim
RUN mkdir /var/lib/grafana && chown 472 /var/lib/grafana
USER 472
VOLUME /var/lib/grafana
CMD ["python3", "-m", "http.server", "3000"]
