#!/usr/bin/env bash
# A study on a Slurm allocation of any number of nodes: a Ray cluster of its own inside the allocation,
# and one job after another until the study is complete.
#
#   export STUDY=vtab1k-vit-base OUT=/shared/runs/vit ROOT=/shared/data ACTIVATE=/shared/venv/bin/activate
#   sbatch --nodes=4 --gpus-per-node=4 --time=12:00:00 slurm.sh --set checkpoint=/shared/ViT-B_16.npz
#
# Options behind the script's name go to `wst tune`.  OUT and ROOT have to be seen by all nodes.  As long
# as trials are left (exit status 75 of `wst tune`), the job puts itself back into the queue with the same
# options; any other failure ends it.
#SBATCH --job-name=wst
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=wst-%j.log
set -euo pipefail

STUDY=${STUDY:?a study file, or the name of a shipped study}
OUT=${OUT:?output folder of the study}
ROOT=${ROOT:-}         # folder that holds the suite's folder
ACTIVATE=${ACTIVATE:-} # file to source first, of a virtual environment with wst
# Minutes of the allocation that are kept back: for the checks before the study (they look at every
# image), and for what a trial needs to its next report, where the study can stop.
MARGIN=${MARGIN:-15}
MAX_RESTARTS=${MAX_RESTARTS:-100}
JOIN_TIMEOUT=${JOIN_TIMEOUT:-600} # seconds that nodes have to join Ray
# Which of a node's addresses Ray takes, as an extended regular expression; the private ones unless given.
NETWORK=${NETWORK:-'^(10\.|192\.168\.|172\.(1[6-9]|2[0-9]|3[01])\.)'}

# ---- what runs on a node; srun takes these functions along, since the script lies on the first node only

node_address() {
    hostname -I | tr ' ' '\n' | grep -E -m 1 "$NETWORK" || {
        echo "wst: $(hostname): expected an address that matches NETWORK=$NETWORK; found $(hostname -I)" >&2
        return 1
    }
}

# --block ties Ray to the step, with which it ends.  (`ray stop` would end every Ray that the user has on
# the node, another job's too.)  What Ray finds on the node is more than what the job may use, so it is
# told.
# shellcheck disable=SC2317
start_ray() {
    local address
    address=$(node_address)
    exec ray --logging-level=warning start --block --disable-usage-stats \
        --node-ip-address="$address" --temp-dir="$RAY_FOLDER" \
        --dashboard-agent-listen-port="$AGENT_PORT" \
        --num-cpus="${SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" "$@"
}

# ---- what runs on the first node

# on_nodes NUMBER NODES COMMAND...: becomes srun, which runs the command once a node; it may be one of the
# functions above.  Always in a subshell: so its process is the one to signal and to wait for.
on_nodes() {
    local number=$1 nodes=$2
    shift 2
    exec srun --nodes="$number" --ntasks="$number" --ntasks-per-node=1 --nodelist="$nodes" \
        --export=ALL --overlap --cpus-per-task="${SLURM_CPUS_PER_TASK:-$SLURM_CPUS_ON_NODE}" \
        --kill-on-bad-exit=0 --input=none \
        bash -euo pipefail -c "$(declare -f node_address start_ray); \"\$@\"" wst "$@"
}

steps=()
stop_ray() {
    trap - EXIT
    if ((${#steps[@]})); then
        echo "wst: ending Ray; srun says that its steps were cancelled" >&2
        kill -TERM "${steps[@]}" 2>/dev/null || true
        wait "${steps[@]}" 2>/dev/null || true
        steps=()
    fi
    (on_nodes "${#nodes[@]}" "$SLURM_JOB_NODELIST" rm -rf "$RAY_FOLDER") || true
}

wait_for_head() {
    local deadline=$((SECONDS + JOIN_TIMEOUT))
    until (: <>"/dev/tcp/$head_address/$HEAD_PORT") 2>/dev/null; do
        if ((SECONDS > deadline)) || ! kill -0 "${steps[0]}" 2>/dev/null; then
            echo "wst: expected Ray's head at $head_address:$HEAD_PORT; found none" >&2
            return 1
        fi
        sleep 0.5
    done
}

wait_for_nodes() {
    python - "$head_address:$HEAD_PORT" "${#nodes[@]}" "$JOIN_TIMEOUT" <<'PYTHON'
import sys
import time

import ray

address, expected, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
deadline, alive = time.monotonic() + seconds, 0
while alive < expected:
    try:
        ray.init(address=address, ignore_reinit_error=True, log_to_driver=False, logging_level="ERROR")
        alive = sum(node["Alive"] for node in ray.nodes())
    except Exception as error:  # the head answers before it is ready
        print(f"wst: {type(error).__name__}; trying again", file=sys.stderr)
    if alive < expected and time.monotonic() > deadline:
        sys.exit(f"wst: expected {expected} nodes to join Ray within {seconds:g} s; found {alive}")
    time.sleep(1)
PYTHON
}

minutes_left() { # of the allocation
    local end
    end=$(scontrol show job "$SLURM_JOB_ID" | grep -o -m 1 'EndTime=[^ ]*' | cut -d= -f2)
    echo $((($(date -d "$end" +%s) - $(date +%s)) / 60))
}

if [[ -n $ACTIVATE ]]; then
    set +u # such files are seldom written for it
    # shellcheck disable=SC1090
    source "$ACTIVATE"
    set -u
fi
export NETWORK
# Whatever it is told, Ray listens on all of a node's addresses, and it runs what it is sent.  The token
# keeps the other users of the cluster out (Ray 2.52 and later).
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN
RAY_AUTH_TOKEN=$(head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n')
# Two jobs may share a node: ten ports to each, below those that the system gives out.  Ray's other ports
# come from the system.
HEAD_PORT=$((20000 + SLURM_JOB_ID % 1000 * 10))
export AGENT_PORT=$((HEAD_PORT + 1))
# One to a job too, on the node's own disk; short, since paths of sockets below it may have 107
# characters.
export RAY_FOLDER="/tmp/wst-slurm-$SLURM_JOB_ID"

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head_address=$(node_address)
minutes=$(($(minutes_left) - MARGIN))
if ((minutes < 1)); then
    echo "wst: expected more than MARGIN=$MARGIN minutes of allocation; found $((minutes + MARGIN))" >&2
    exit 1
fi
trap stop_ray EXIT

(on_nodes 1 "${nodes[0]}" start_ray --head --port="$HEAD_PORT" --include-dashboard=false \
    --ray-client-server-port=$((HEAD_PORT + 2))) &
steps+=($!)
wait_for_head
if ((${#nodes[@]} > 1)); then
    others=$(IFS=,; echo "${nodes[*]:1}")
    (on_nodes $((${#nodes[@]} - 1)) "$others" start_ray --address="$head_address:$HEAD_PORT") &
    steps+=($!)
fi
wait_for_nodes

status=0
wst tune "$STUDY" --out "$OUT" ${ROOT:+--root "$ROOT"} --address "$head_address:$HEAD_PORT" \
    --stop-after "${minutes}m" "$@" || status=$?
stop_ray

if ((status == 75)); then
    if ((${SLURM_RESTART_COUNT:-0} >= MAX_RESTARTS)); then
        echo "wst: trials are left after MAX_RESTARTS=$MAX_RESTARTS restarts; submit again to go on" >&2
        exit 1
    fi
    # Rather than a new submission, which would lose the options that were given to sbatch.
    scontrol requeue "$SLURM_JOB_ID"
    exit 0
fi
exit "$status"
