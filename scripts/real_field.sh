#!/usr/bin/env bash
# The real field: 71 raw frames of HAT-P-32 to calibrated images, alerts and a light curve.
# Usage: scripts/real_field.sh CORES   (called by `make real`)
#
# The frames are taken from $ALERTPROD_REAL_DATA/microobservatory_hatp32 when that variable is
# set, else downloaded from their public home; both are held to resources/hatp32.sha256.
set -euo pipefail
cores=${1:-1}
cd "$(dirname "$0")/.."
home=https://raw.githubusercontent.com/rzellem/EXOTIC_sampledata/e48fda38ff0d245d961369528f1ab71cd643de22/HatP32Dec202017
data=data/hatp32
configs=(config/hatp32.yaml)
export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 PYTHONPATH=scripts
alertprod() { python -m alertprod.cli "$@"; }

# 1. Raw frames, kept gzipped; the checksum is that of the FITS file inside.
mkdir -p "$data/raw"
while read -r sum name; do
  file="$data/raw/$name.gz"
  if [ -n "${ALERTPROD_REAL_DATA:-}" ]; then
    ln -sfn "$(realpath "$ALERTPROD_REAL_DATA")/microobservatory_hatp32/$name.gz" "$file"
  elif [ ! -e "$file" ]; then
    echo "downloading $name"
    curl -fsSL --retry 3 "$home/$name" | gzip -nc > "$file.part"
    mv "$file.part" "$file"
  fi
  if [ "$(gzip -dc "$file" | sha256sum | cut -d' ' -f1)" != "$sum" ]; then
    echo "real_field: $file is not the frame that resources/hatp32.sha256 names. Remove it and" \
      "run again, or mend ALERTPROD_REAL_DATA." >&2
    exit 1
  fi
done < resources/hatp32.sha256

# 2. Bright stars, and a first pass on twelve frames that they tie to the sky.
if [ ! -e "$data/tycho2/partition_info.csv" ]; then
  alertprod refcat resources/hatp32_tycho2.csv "$data/tycho2" --order 4 --flux VT=mag_VT
fi
mapfile -t stars < <(
  tail -n +2 config/hatp32/exposures.csv | sort | awk -F, '
    { row[NR] = $3 "/" $1 "/" $2 }
    END { for (k = 0; k < 12; k++) print row[1 + int(k * (NR - 1) / 11 + 0.5)] }' |
    sed "s|.*|$data/first/&/stars.parquet|"
)
snakemake -c"$cores" --configfile config/hatp32.yaml config/hatp32_first.yaml --quiet rules \
  -- "${stars[@]}"

# 3. Their common stars are the reference for all frames, beside the bright ones.
newest=$(ls -t "${stars[@]}" | head -n 1)
if [ "$newest" -nt "$data/refcat/partition_info.csv" ]; then
  alertprod refcat local:VT "$data/refcat" --order 4 --beside "$data/tycho2" --replace \
    --configfile "${configs[@]}" --stars "${stars[@]}"
fi

# 4. Everything, with the same rules as any night; then the light curve and the figures.
snakemake -c"$cores" --configfile "${configs[@]}" --quiet rules
alertprod lightcurve HAT-P-32 --configfile "${configs[@]}"
python tests/science/real_field.py
