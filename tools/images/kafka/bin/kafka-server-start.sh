#!/bin/sh
# Starts a broker:  kafka-server-start.sh server.properties [--override property=value]*
export KAFKA_HEAP_OPTS="${KAFKA_HEAP_OPTS:--Xmx1G -Xms1G}"
# shellcheck disable=SC2086 # several options
exec "$(dirname "$0")/kafka-run-class.sh" ${EXTRA_ARGS:-} kafka.Kafka "$@"
