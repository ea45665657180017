#!/usr/bin/env bash
# Every run of the results, in order: some thirty hours of one core. What is done is not run again, what was begun goes
# on from its checkpoint, so start it again after whatever stopped it, and once more for each further core. Where the
# checkpoints are gone with their machine, `again-LOSS` needs none: it begins with the pretrained weights that ship.
#
#     git clone --branch TAG . ../runs/checkout && make -C ../runs/checkout .venv/.test
#     S3REC_DATA=… ../runs/checkout/benchmarks/runs.sh ../runs reproductions   # or trials
#     s3rec collect --folder ../runs/results --replace
#
# The checkout is of a tag and nobody works in it, for every record names its commit.
set -uo pipefail
folder="$(realpath "$1")" list="$2" here="$(realpath "$(dirname "$0")")"
export PATH="$here/../.venv/bin:$PATH" OMP_NUM_THREADS=1 S3REC_DATA="${S3REC_DATA:?}"
cd "$folder"
mkdir -p locks logs
undone=0

job() { # job DATASET NAME COMMAND…: one at a time of a dataset, whose runs share a pretraining
    local dataset="$1" name="$2"
    shift 2
    [[ -e "locks/$name.done" ]] && return
    undone=1
    (
        flock --nonblock 9 || exit 0 # another worker has this dataset
        echo "$(date +%T) $name"
        nice -n 19 "$@" >>"logs/$name.log" 2>&1 && touch "locks/$name.done" || echo "$name failed: logs/$name.log"
    ) 9>"locks/$dataset"
}

reproduce() { # reproduce DATASET LOSS OPTION…
    local dataset="$1" loss="$2"
    shift 2
    job "$dataset" "$dataset-$loss" s3rec reproduce "$dataset" --seeds 3 --loss "$loss" "$@" --folder results --runs checkpoints
}

authors() { # authors DATASET OPTION…: their checkpoint
    job "$1" "$1-authors" s3rec reproduce "$1" --seeds 3 --loss pointwise --weights "$S3REC_DATA/$1-epochs-150.pt" \
        "${@:2}" --folder results --runs checkpoints
}

trials() { # trials DATASET QUESTION
    job "$1" "$1-$2" python "$here/trials.py" "$2" "$1" --folder results --runs checkpoints
}

large=(--pretraining-batch-size 100 --pretraining-epochs 60)
sports=(--pretraining-batch-size 100 --pretraining-epochs 40) # as many steps as sixty epochs of Beauty
yelp=(--pretraining-batch-size 100 --pretraining-epochs 20)
lastfm=(--patience 20 --negatives "$S3REC_DATA" --pretraining-seeds 3 --pretraining-batch-size 100
    --pretraining-epochs 200 --prefixes-per-user 4)
movielens=(--patience 20 --pretraining-seeds 3 --pretraining-batch-size 100 --pretraining-epochs 100
    --prefixes-per-user 2)

all_reproductions() {
    reproduce LastFM pointwise "${lastfm[@]}"
    reproduce Beauty pointwise "${large[@]}"
    reproduce Toys_and_Games pointwise "${large[@]}"
    reproduce Sports_and_Outdoors pointwise "${sports[@]}"
    reproduce Yelp pointwise "${yelp[@]}"
    authors LastFM --patience 20 --negatives "$S3REC_DATA"
    authors Beauty
    authors Toys_and_Games
    reproduce LastFM softmax "${lastfm[@]}"
    reproduce Beauty softmax "${large[@]}"
    reproduce Toys_and_Games softmax "${large[@]}"
    reproduce Sports_and_Outdoors softmax "${sports[@]}"
    reproduce Yelp softmax "${yelp[@]}"
    reproduce movielens-small pointwise "${movielens[@]}"
    reproduce movielens-small softmax "${movielens[@]}"
    reproduce movielens-small pairwise "${movielens[@]}"
    reproduce LastFM pairwise "${lastfm[@]}"
    reproduce Beauty pairwise "${large[@]}"
    reproduce Toys_and_Games pairwise "${large[@]}"
}

all_trials() {
    trials Beauty authors
    trials Toys_and_Games authors
    trials Beauty second-pretraining
    trials Toys_and_Games second-pretraining
    trials Beauty sampled
    trials Beauty search
}

while true; do
    undone=0
    "all_$list"
    ((undone)) || break
    sleep 20
done
