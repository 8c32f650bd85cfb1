#!/bin/sh
# Runs a class of Kafka; the variables are those of the script of this name in Kafka's distribution.
set -e
while :; do
  case "${1:-}" in
    -name) shift 2 ;;
    -loggc | -daemon) shift ;;
    *) break ;;
  esac
done
: "${KAFKA_HEAP_OPTS:=-Xmx256M}"
: "${KAFKA_JVM_PERFORMANCE_OPTS:=-server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 -Djava.awt.headless=true}"
: "${KAFKA_LOG4J_OPTS:=-Dlog4j2.configurationFile=/opt/kafka/config/log4j2.properties}"
# shellcheck disable=SC2086 # each variable holds several options
exec java $KAFKA_HEAP_OPTS $KAFKA_JVM_PERFORMANCE_OPTS $KAFKA_GC_LOG_OPTS $KAFKA_JMX_OPTS \
  "-Dkafka.logs.dir=${LOG_DIR:-/opt/kafka/logs}" $KAFKA_LOG4J_OPTS -cp '/opt/kafka/libs/*' $KAFKA_OPTS "$@"
