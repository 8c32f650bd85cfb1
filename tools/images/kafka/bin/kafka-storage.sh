#!/bin/sh
# Formats the folders of a broker, and tells what is in them.
exec "$(dirname "$0")/kafka-run-class.sh" kafka.tools.StorageTool "$@"
