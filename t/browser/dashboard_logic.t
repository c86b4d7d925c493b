#!/bin/sh
# The dashboard's pure logic: context URLs, times, phases, texts of errors.
cd "$(dirname "$0")/../../dashboard" || exit 1
[ -d node_modules ] || npm install --no-save > /dev/null || exit 1
[ -d src/gen ] || npm run --silent generate > /dev/null || exit 1
exec node_modules/.bin/vitest run --reporter=tap-flat
