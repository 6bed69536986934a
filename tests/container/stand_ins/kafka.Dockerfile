FROM python:3.13-slim
RUN useradd --uid 1000 appuser && mkdir -p /var/lib/kafka/data && chown appuser /var/lib/kafka/data
COPY java /opt/java
COPY libs /opt/kafka/libs
COPY kafka.py /opt/kafka/start.py
USER appuser
VOLUME /var/lib/kafka/data
STOPSIGNAL SIGTERM
CMD ["python3", "/opt/kafka/start.py"]
