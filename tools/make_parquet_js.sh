#!/usr/bin/env bash
# Writes x_instruction/report/parquet.js: hyparquet and fzstd (both MIT), which read Parquet files in the page of a report.
# Needs npm. Equal versions give equal bytes.
set -euo pipefail
target=$(cd "$(dirname "$0")/.." && pwd)/x_instruction/report
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm init --yes > /dev/null
npm install --silent hyparquet@1.33.0 fzstd@0.1.1 esbuild@0.28.2
cat > entry.js << 'JS'
import { asyncBufferFromUrl, parquetMetadataAsync, parquetReadObjects } from "hyparquet";
import { decompress } from "fzstd";
// Files of this project are compressed with zstd alone.
const compressors = { ZSTD: (input, length) => decompress(input, new Uint8Array(length)) };
export async function open(url) {
  const file = await asyncBufferFromUrl({ url });
  const metadata = await parquetMetadataAsync(file);
  return { file, metadata, rows: Number(metadata.num_rows) };
}
export function read({ file, metadata }, rowStart, rowEnd) {
  return parquetReadObjects({ file, metadata, rowStart, rowEnd, compressors });
}
JS
banner='/* hyparquet 1.33.0 and fzstd 0.1.1, MIT licence: see parquet.LICENSE. Made by tools/make_parquet_js.sh. */'
npx esbuild entry.js --bundle --minify --format=iife --global-name=parquet --charset=utf8 --legal-comments=none \
    --log-level=warning --banner:js="$banner" --outfile="$target/parquet.js"
{
    echo "hyparquet (https://github.com/hyparam/hyparquet)"
    cat node_modules/hyparquet/LICENSE
    printf '\n\nfzstd (https://github.com/101arrowz/fzstd)\n'
    cat node_modules/fzstd/LICENSE
    echo
} > "$target/parquet.LICENSE"
