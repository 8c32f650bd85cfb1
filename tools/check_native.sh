#!/usr/bin/env bash
# Format, lint and tests of native/relay. What is compiled is kept in the cache, outside the checkout.
set -euo pipefail
cd "$(dirname "$0")/../native/relay"
export CARGO_TARGET_DIR=${PARLEY_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/parley}/relay-target
cargo fmt --check
cargo clippy --quiet --locked --release --all-targets --features python -- -D warnings
cargo test --quiet --locked --release
