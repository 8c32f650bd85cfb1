#!/usr/bin/env bash
# Puts Apache Kafka (KRaft) into the cache from Maven Central; needs a JDK 17 or newer and Maven. Prints the folder.
set -euo pipefail
VERSION=4.4.0
LOG4J=2.25.5
CACHE=${PARLEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/parley}
DEST=$CACHE/kafka-$VERSION

if [ ! -s "$DEST/log4j2.properties" ]; then
  command -v mvn >/dev/null || { echo "Kafka needs Maven, which is not installed" >&2; exit 1; }
  command -v java >/dev/null || { echo "Kafka needs a JDK, which is not installed" >&2; exit 1; }
  mkdir -p "$DEST"
  exec 9>"$DEST/.lock"
  flock 9
fi
if [ ! -s "$DEST/log4j2.properties" ]; then  # nobody made it while we waited
  cat > "$DEST/pom.xml" <<XML
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>org.parley.test</groupId>
  <artifactId>kafka-broker</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>$VERSION</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId><artifactId>log4j-slf4j-impl</artifactId><version>$LOG4J</version>
    </dependency>
  </dependencies>
  <build><plugins><plugin>
    <groupId>org.apache.maven.plugins</groupId><artifactId>maven-dependency-plugin</artifactId><version>3.8.1</version>
  </plugin></plugins></build>
</project>
XML
  mvn -B -q -f "$DEST/pom.xml" dependency:copy-dependencies -DincludeScope=runtime \
    -DoutputDirectory="$DEST/libs" >&2
  cat > "$DEST/log4j2.properties" <<'PROPERTIES'
status = error
appender.console.type = Console
appender.console.name = STDOUT
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %m (%c)%n
rootLogger.level = info
rootLogger.appenderRef.stdout.ref = STDOUT
PROPERTIES
fi
echo "$DEST"
