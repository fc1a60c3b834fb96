#!/usr/bin/env bash
# What a host should give Ringtail, checked, set, and set back exactly as it was.
#
# usage: perf/tune.sh --check  [options]   says what is there, what is wanted and why; changes nothing
#        perf/tune.sh --apply  [options]   changes what can be changed while the host runs
#        perf/tune.sh --undo               gives back every value that --apply replaced
#        perf/tune.sh --list               the names of the checks; `ringtail doctor` has the same
#
# options: --volumes DIR[,DIR…]      folders of the log (default: ./ringtail-data)
#          --shards CPUS             CPUs of the shards, such as 0,2-5 (default: all but the last of
#                                    four or more, as the engine does)
#          --interrupts away|onto    interrupts of network queues away from the shards' CPUs, or one
#                                    queue onto each of them (default: away)
#          --only NAME[,NAME…]       these checks alone
#
# Reading it: "fine" is as wanted; "slow" costs throughput or latency; "wrong" costs safety, or the
# engine does not start; "unknown" cannot be seen here. What --apply cannot change it says, and goes
# on. It writes down each value before it replaces it, in STATE, which a restart of the host empties
# as it empties the settings; what --apply writes below /etc is named there too.
#
# Exit codes: 0 done; 1 --check found something wrong, or --undo could not give a value back; 2 usage.
#
# ROOT   another root for /proc, /sys and /etc, to try this on a copy    (default: the host's)
# STATE  where replaced values are kept                                  (default: /run/ringtail-tune)

set -euo pipefail

root=${ROOT:-}
state=${STATE:-$root/run/ringtail-tune}
checks=(rings cpus governor isolated-cores interrupts packet-steering accept-queue open-files
    locked-memory huge-pages file-system devices disk-scheduler write-cache clock-source swap)

declare -A why=(
    [rings]='every socket and every write goes through io_uring: without it nothing starts'
    [cpus]='a shard is one pinned thread: a CPU that is not there, is capped or is shared halves it'
    [governor]='a core that clocks down when it waits for a flush is slow when the flush ends: up to 30 % of throughput, and the tail'
    [isolated-cores]='what else the scheduler puts on a shard'\''s core stops every connection of that shard for milliseconds: the p99.9'
    [interrupts]='an interrupt of another device takes microseconds from a shard each time; a network queue on its own shard'\''s core saves a cache miss for each packet'
    [packet-steering]='with fewer receive queues than shards one core does the network work of all: it limits before the shards do'
    [accept-queue]='when a fleet reconnects at once, handshakes beyond this queue are dropped and come again a second later'
    [open-files]='each connection is an open file: at the limit new ones are refused'
    [locked-memory]='buffers that are registered with the kernel are not mapped again for each write: some percent of a shard'
    [huge-pages]='always: the kernel merges pages behind a shard'\''s back and stalls it, and idle connections take more memory'
    [file-system]='an acknowledgement is as good as the flush under it: ext4 and xfs keep what direct I/O wrote, with barriers'
    [devices]='two copies on one device are lost together, and share its bandwidth'
    [disk-scheduler]='a scheduler that sorts requests only delays the few large writes of a log on flash: some percent of latency'
    [write-cache]='the kernel flushes only a cache that it knows of: a volatile one that it takes for none loses acknowledged events with the power'
    [clock-source]='every batch reads the clock: 20 ns with the processor'\''s own counter, a microsecond and more with another'
    [swap]='a shard that waits for a page from disk stops all its connections'
)

die() {
    echo "tune.sh: $*" >&2
    exit 2
}

# ---- reading ----

# value_of FILE: what stands there; of a choice such as "a [b] c" what is chosen.
value_of() {
    local text
    text=$(cat -- "$root$1" 2>/dev/null) || return 1
    [[ $text =~ \[([^]]*)\] ]] && text=${BASH_REMATCH[1]}
    printf '%s' "$text"
}

# each_of LIST: the numbers of a list such as 0,2-5, one a line.
each_of() {
    local part
    for part in ${1//,/ }; do
        seq "${part%-*}" "${part#*-}"
    done
}

# list_of: the numbers on standard input as a list.
list_of() {
    paste -sd, -
}

# common A B: numbers that are in both lists, as a list.
common() {
    comm -12 <(each_of "$1" | sort) <(each_of "$2" | sort) | sort -n | list_of
}

# without A B: numbers of the first list that are not in the second, as a list.
without() {
    comm -23 <(each_of "$1" | sort) <(each_of "$2" | sort) | sort -n | list_of
}

# mask_of LIST: as the kernel writes a set of CPUs: hexadecimal words of 32 bits.
mask_of() {
    each_of "$1" | awk '
        { place = int($1 / 32); word[place] += 2 ^ ($1 % 32); if (last < place) last = place }
        END { for (i = last + 0; 0 <= i; i--) printf((i == last ? "%x" : ",%08x"), word[i]) }'
}

# plain MASK: a mask without what two ways of writing it differ in.
plain() {
    local mask=${1//,/}
    mask=${mask#"${mask%%[!0]*}"}
    printf '%s' "${mask:-0}"
}

# nearest FOLDER: the folder, or what there is of the way to it.
nearest() {
    local folder
    folder=$(realpath -m -- "$1")
    while [[ ! -e $folder ]]; do folder=$(dirname "$folder"); done
    printf '%s' "$folder"
}

# disks_of FOLDER: the whole disks below its file system, one a line; nothing when there are none.
disks_of() {
    local number block
    number=$(findmnt -nro MAJ:MIN -T "$(nearest "$1")" | head -1)
    block=$(readlink -f "$root/sys/dev/block/$number" 2>/dev/null) || return 0
    if [[ -e $block ]]; then whole_disks "$block"; fi
}

# whole_disks BLOCK: follows partitions, RAID and LVM down.
whole_disks() {
    local slave found=''
    for slave in "$1"/slaves/*; do
        [[ -e $slave ]] || continue
        found=1
        whole_disks "$(readlink -f "$slave")"
    done
    if [[ $found ]]; then
        return
    fi
    if [[ -e $1/partition ]]; then basename "$(dirname "$1")"; else basename "$1"; fi
}

all_disks() {
    local folder
    for folder in "${volumes[@]}"; do disks_of "$folder"; done | sort -u
}

# wanted_interrupts: "number list" for each interrupt that is told where to go.
wanted_interrupts() {
    local file number place=0
    local -a queues=()
    declare -A onto=()
    mapfile -t queues < <(each_of "$shards")
    if [[ $interrupts == onto ]]; then
        for file in "$root"/sys/class/net/*/device/msi_irqs/*; do
            [[ -e $file ]] || continue
            onto[$(basename "$file")]=${queues[place % ${#queues[@]}]}
            place=$((place + 1))
        done
    fi
    for file in "$root"/proc/irq/[0-9]*/smp_affinity_list; do
        [[ -e $file ]] || continue
        number=$(basename "$(dirname "$file")")
        if [[ ${onto[$number]:-} ]]; then
            echo "$number ${onto[$number]}"
        elif [[ $spare ]]; then
            echo "$number $spare"
        fi
    done
}

# wanted_steering: "file mask" for each queue of each network card.
wanted_steering() {
    local card queues file place mask
    local -a cpus
    mapfile -t cpus < <(each_of "$shards")
    for card in "$root"/sys/class/net/*; do
        [[ -e $card/device ]] || continue
        queues=$(find "$card/queues/" -maxdepth 1 -name 'rx-*' | wc -l)
        mask=0
        ((queues < ${#cpus[@]})) && mask=$(mask_of "$shards")
        for file in "$card"/queues/rx-*/rps_cpus; do
            [[ -e $file ]] && echo "${file#"$root"} $mask"
        done
        queues=$(find "$card/queues/" -maxdepth 1 -name 'tx-*' | wc -l)
        ((queues < ${#cpus[@]})) && continue
        place=0
        for file in "$card"/queues/tx-*/xps_cpus; do
            [[ -e $file ]] && echo "${file#"$root"} $(mask_of "${cpus[place % ${#cpus[@]}]}")"
            place=$((place + 1))
        done
    done
}

# ---- checks: each sets `verdict` and `found`, and `wanted` when it is not fine ----

judge() {
    verdict=$1 found=$2 wanted=${3:-}
}

check_rings() {
    case $(value_of /proc/sys/kernel/io_uring_disabled || echo none) in
    none) judge unknown 'this kernel has no switch for it' ;;
    0) judge fine 'allowed' ;;
    1) judge wrong 'for the privileged only' 'kernel.io_uring_disabled = 0' ;;
    *) judge wrong 'forbidden' 'kernel.io_uring_disabled = 0' ;;
    esac
}

check_cpus() {
    local absent cap cpu twins
    absent=$(without "$shards" "$allowed")
    if [[ $absent ]]; then
        judge wrong "CPU $absent is not ours (we have $allowed)" "shard.cpus within $allowed"
        return
    fi
    cap=$(value_of /sys/fs/cgroup/cpu.max || true)
    if [[ $cap && $cap != max* ]]; then
        judge slow "the control group is capped at $cap µs" 'cpu.max = max for the group of the engine'
        return
    fi
    for cpu in $(each_of "$shards"); do
        twins=$(value_of "/sys/devices/system/cpu/cpu$cpu/topology/thread_siblings_list" || echo "$cpu")
        if [[ $(common "$twins" "$shards") == *,* ]]; then
            judge slow "CPUs $twins are one core" "one shard for each core: leave the other thread of it idle"
            return
        fi
    done
    judge fine "shards on $shards of $allowed"
}

governor_files() {
    local file
    for file in "$root"/sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_governor; do
        [[ -e $file ]] && echo "${file#"$root"}"
    done
    return 0
}

check_governor() {
    local file seen=''
    for file in $(governor_files); do
        seen+="$(value_of "$file")"$'\n'
    done
    seen=$(sort -u <<<"$seen" | sed '/^$/d' | paste -sd' ' -)
    case $seen in
    '') judge unknown 'no frequency control here: a virtual machine, or it is the firmware'\''s' ;;
    performance) judge fine performance ;;
    *) judge slow "$seen" 'scaling_governor = performance on every CPU' ;;
    esac
}

check_isolated-cores() {
    local isolated bare
    isolated=$(value_of /sys/devices/system/cpu/isolated || true)
    bare=$(without "$shards" "${isolated:-}")
    if [[ ! $spare ]]; then
        judge unknown 'every CPU is a shard'\''s: there is none to send the others to'
    elif [[ ! $bare ]]; then
        judge fine "$isolated"
    else
        judge slow "${isolated:-none}" "boot with isolcpus=managed_irq,domain,$shards nohz_full=$shards rcu_nocbs=$shards"
    fi
}

check_interrupts() {
    local number list now strays=0 known=0
    if [[ ! $spare && $interrupts == away ]]; then
        judge unknown 'every CPU is a shard'\''s: interrupts have nowhere else to go'
        return
    fi
    while read -r number list; do
        known=$((known + 1))
        now=$(value_of "/proc/irq/$number/smp_affinity_list" || continue)
        [[ $(without "$now" "$list") ]] && strays=$((strays + 1))
    done < <(wanted_interrupts)
    if ((strays == 0)); then
        judge fine "$known as wanted"
    else
        judge slow "$strays of $known may come on other CPUs" "smp_affinity_list by --apply; stop irqbalance, or it moves them back"
    fi
}

check_packet-steering() {
    local file mask known=0 other=0
    while read -r file mask; do
        known=$((known + 1))
        [[ $(plain "$(value_of "$file" || true)") == "$(plain "$mask")" ]] || other=$((other + 1))
    done < <(wanted_steering)
    if ((known == 0)); then
        judge unknown 'no network card here'
    elif ((other == 0)); then
        judge fine "$known queues as wanted"
    else
        judge slow "$other of $known queues" 'rps_cpus over the shards when queues are fewer, else off; each transmit queue to one shard'
    fi
}

check_accept-queue() {
    local longest
    longest=$(value_of /proc/sys/net/core/somaxconn || echo 0)
    if ((4096 <= longest)); then
        judge fine "$longest"
    else
        judge slow "$longest" 'net.core.somaxconn = 4096'
    fi
}

check_open-files() {
    # Who may lift the limit need not: the engine lifts it too.
    if (ulimit -n 131072) 2>/dev/null; then
        judge fine '131072 can be had'
    else
        judge slow "$(ulimit -Hn)" 'a hard limit of 131072: LimitNOFILE= in the unit, or ulimit -n'
    fi
}

# As the engine counts: three rings for each executor register its memory, and a little more.
locked_kib() {
    echo $(($(each_of "$shards" | wc -l) * (3 * 65536 + 1024) + 3 * 16384 + 1024))
}

check_locked-memory() {
    local have
    have=$(ulimit -Hl)
    if (ulimit -l "$(locked_kib)") 2>/dev/null; then
        judge fine "$(locked_kib) KiB can be had"
        return
    fi
    wanted="a hard limit of $(locked_kib) KiB: LimitMEMLOCK=infinity in the unit, or ulimit -l"
    if ((have < 512)); then judge wrong "$have KiB" "$wanted"; else judge slow "$have KiB" "$wanted"; fi
}

check_huge-pages() {
    local mode
    mode=$(value_of /sys/kernel/mm/transparent_hugepage/enabled || echo none)
    case $mode in
    none) judge fine 'this kernel has none' ;;
    always) judge slow always 'transparent_hugepage/enabled = madvise' ;;
    *) judge fine "$mode" ;;
    esac
}

check_file-system() {
    local folder kind options seen=''
    for folder in "${volumes[@]}"; do
        read -r kind options < <(findmnt -nro FSTYPE,OPTIONS -T "$(nearest "$folder")") || true
        if [[ $kind != ext4 && $kind != xfs ]]; then
            judge wrong "$folder is on ${kind:-nothing known}" 'a volume on ext4 or xfs'
            return
        fi
        if [[ ,$options, =~ ,(nobarrier|barrier=0), ]]; then
            judge wrong "$folder is mounted with ${BASH_REMATCH[1]}" 'mount it with barriers'
            return
        fi
        seen+="${seen:+, }$folder on $kind"
    done
    judge fine "$seen"
}

check_devices() {
    local folder twice
    twice=$(for folder in "${volumes[@]}"; do disks_of "$folder" | sort -u; done | sort | uniq -d | paste -sd' ' -)
    if [[ $twice ]]; then
        judge wrong "$twice holds several volumes" 'each volume on a device of its own'
    elif [[ ! $(all_disks) ]]; then
        judge unknown 'no disk is known below the volumes'
    else
        judge fine "$(all_disks | paste -sd' ' -)"
    fi
}

# spins DISK: a disk with a head to move. Virtual disks say so too, and are none.
spins() {
    [[ $1 == sd* && $(value_of "/sys/block/$1/queue/rotational" || echo 0) == 1 ]]
}

check_disk-scheduler() {
    local disk mode seen='' bad=''
    for disk in $(all_disks); do
        mode=$(value_of "/sys/block/$disk/queue/scheduler" || continue)
        seen+="${seen:+, }$disk $mode"
        [[ $mode == none ]] || spins "$disk" || bad=1
    done
    if [[ ! $seen ]]; then
        judge unknown 'no disk is known below the volumes'
    elif [[ $bad ]]; then
        judge slow "$seen" 'queue/scheduler = none'
    else
        judge fine "$seen"
    fi
}

# The disk's own word for its cache, where it gives one: SCSI and SATA.
cache_type() {
    local file
    for file in "$root/sys/block/$1"/device/scsi_disk/*/cache_type; do
        [[ -e $file ]] && cat "$file" && return
    done
    return 0
}

check_write-cache() {
    local disk mode seen=''
    for disk in $(all_disks); do
        mode=$(value_of "/sys/block/$disk/queue/write_cache" || continue)
        seen+="${seen:+, }$disk $mode"
        if [[ $mode == 'write through' && $(cache_type "$disk") == 'write back'* ]]; then
            judge wrong "$disk has a cache that is not flushed" "queue/write_cache = write back"
            return
        fi
    done
    if [[ $seen ]]; then judge fine "$seen"; else judge unknown 'no disk is known below the volumes'; fi
}

clock=/sys/devices/system/clocksource/clocksource0

check_clock-source() {
    local now
    now=$(value_of $clock/current_clocksource || echo unknown)
    case $now in
    tsc | arch_sys_counter | kvm-clock) judge fine "$now" ;;
    unknown) judge unknown 'the kernel does not say' ;;
    *) judge slow "$now" 'current_clocksource = tsc; if it is not offered, ask dmesg why it was found unstable' ;;
    esac
}

check_swap() {
    local areas swappiness
    areas=$(tail -n +2 "$root/proc/swaps" 2>/dev/null | wc -l)
    swappiness=$(value_of /proc/sys/vm/swappiness || echo 0)
    if ((areas == 0)); then
        judge fine 'none'
    elif ((swappiness <= 1)); then
        judge fine "$areas areas, swappiness $swappiness"
    else
        judge slow "$areas areas, swappiness $swappiness" 'no swap, or vm.swappiness = 1'
    fi
}

# ---- changing ----

# write_value FILE VALUE: 0 when the kernel took it.
write_value() {
    { printf '%s\n' "$2" >"$root$1"; } 2>/dev/null
}

# set_value FILE VALUE: notes the value that is there, once, and replaces it.
set_value() {
    local old
    if ! old=$(value_of "$1"); then
        echo "         $1 is not there: left out"
        return
    fi
    [[ $old == "$2" ]] && return
    if write_value "$1" "$2"; then
        keep "$1" "$old"
        echo "         $1: $old -> $2"
    else
        echo "         $1 cannot be changed here: left at $old"
    fi
}

# keep FILE OLD: the first value that was found is the one to give back.
keep() {
    if ! { [[ -e $state ]] && cut -f1 "$state" | grep -Fxq -- "$1"; }; then
        printf '%s\t%s\n' "$1" "$2" >>"$state"
    fi
}

# make_file FILE TEXT: a file of ours; one that is there already is left alone.
make_file() {
    if [[ -e $root$1 ]]; then
        echo "         $1 is there already: left alone"
    elif { printf '%s\n' "$2" >"$root$1"; } 2>/dev/null; then
        keep "$1" '<absent>'
        echo "         $1 made: for those who log in from now on"
    else
        echo "         $1 cannot be made here: left out"
    fi
}

by_hand() {
    echo "         not from here: $wanted"
}

apply_rings() { set_value /proc/sys/kernel/io_uring_disabled 0; }
apply_cpus() { by_hand; }

apply_governor() {
    local file
    for file in $(governor_files); do set_value "$file" performance; done
}

apply_isolated-cores() {
    # What can be had without a restart: the kernel's own unbound work leaves the shards' CPUs.
    set_value /sys/devices/virtual/workqueue/cpumask "$(mask_of "$spare")"
    by_hand
}

apply_interrupts() {
    local number list
    while read -r number list; do
        set_value "/proc/irq/$number/smp_affinity_list" "$list"
    done < <(wanted_interrupts)
}

apply_packet-steering() {
    local file mask
    while read -r file mask; do
        [[ $(plain "$(value_of "$file" || true)") == "$(plain "$mask")" ]] || set_value "$file" "$mask"
    done < <(wanted_steering)
}

apply_accept-queue() { set_value /proc/sys/net/core/somaxconn 4096; }

apply_open-files() {
    (($(value_of /proc/sys/fs/nr_open || echo 131072) < 131072)) && set_value /proc/sys/fs/nr_open 131072
    make_file /etc/security/limits.d/90-ringtail-open-files.conf '* - nofile 131072'
    by_hand
}

apply_locked-memory() {
    make_file /etc/security/limits.d/90-ringtail-locked-memory.conf '* - memlock unlimited'
    by_hand
}

apply_huge-pages() { set_value /sys/kernel/mm/transparent_hugepage/enabled madvise; }
apply_file-system() { by_hand; }
apply_devices() { by_hand; }

apply_disk-scheduler() {
    local disk
    for disk in $(all_disks); do
        spins "$disk" || set_value "/sys/block/$disk/queue/scheduler" none
    done
}

apply_write-cache() {
    local disk
    for disk in $(all_disks); do
        [[ $(cache_type "$disk") == 'write back'* ]] && set_value "/sys/block/$disk/queue/write_cache" 'write back'
    done
    return 0
}

apply_clock-source() {
    if [[ " $(value_of $clock/available_clocksource || true) " == *' tsc '* ]]; then
        set_value $clock/current_clocksource tsc
    else
        by_hand
    fi
}

apply_swap() { set_value /proc/sys/vm/swappiness 1; }

# ---- the three things to do ----

say() {
    printf '%-8s %-16s %s\n' "$verdict" "$1" "$found"
    [[ $verdict == slow || $verdict == wrong ]] || return 0
    printf '         wanted: %s\n         why: %s\n' "$wanted" "${why[$1]}"
}

run_checks() {
    local name code=0
    for name in "${only[@]}"; do
        "check_$name"
        say "$name"
        [[ $verdict == wrong ]] && code=1
    done
    return $code
}

apply_all() {
    local name
    mkdir -p "$(dirname "$state")"
    for name in "${only[@]}"; do
        "check_$name"
        say "$name"
        if [[ $verdict == slow || $verdict == wrong ]]; then "apply_$name"; fi
    done
    echo
    if [[ -e $state ]]; then
        echo "replaced values are in $state; perf/tune.sh --undo gives them back"
    else
        echo 'nothing was changed'
    fi
}

undo_all() {
    local file old code=0 left=''
    if [[ ! -e $state ]]; then
        echo 'nothing was changed: there is nothing to give back'
        return
    fi
    # The last change first.
    while IFS=$'\t' read -r file old; do
        if [[ $old == '<absent>' ]]; then
            rm -f -- "$root$file" && echo "$file: removed"
        elif write_value "$file" "$old"; then
            echo "$file: $old"
        else
            echo "$file: could not be set back to $old" >&2
            left=$(printf '%s\t%s\n%s' "$file" "$old" "$left")
            code=1
        fi
    done < <(tac "$state")
    rm -f -- "$state"
    [[ $left ]] && printf '%s\n' "$left" >"$state"
    return $code
}

# The CPUs that shards take when nobody says: all, but for the last of four and more.
default_shards() {
    local count
    count=$(each_of "$allowed" | wc -l)
    if ((4 <= count)); then each_of "$allowed" | head -n -1; else each_of "$allowed"; fi | list_of
}

work=''
shards=''
interrupts=away
volumes=(./ringtail-data)
only=("${checks[@]}")
while (($#)); do
    case $1 in
    --check | --apply | --undo | --list) work=$1 ;;
    --volumes) IFS=, read -ra volumes <<<"${2:-}" && shift ;;
    --shards) shards=${2:-} && shift ;;
    --interrupts) interrupts=${2:-} && shift ;;
    --only) IFS=, read -ra only <<<"${2:-}" && shift ;;
    *) die "what is $1? usage: perf/tune.sh --check|--apply|--undo|--list [--volumes DIR,…] [--shards CPUS] [--interrupts away|onto] [--only NAME,…]" ;;
    esac
    shift
done
[[ $interrupts == away || $interrupts == onto ]] || die '--interrupts takes away or onto'
[[ ${#volumes[@]} -gt 0 ]] || die '--volumes takes a folder'
for name in "${only[@]}"; do
    [[ " ${checks[*]} " == *" $name "* ]] || die "there is no check $name; --list names them"
done

online=$(value_of /sys/devices/system/cpu/online || echo 0)
allowed=$(sed -n 's/^Cpus_allowed_list:\s*//p' "$root/proc/self/status" 2>/dev/null || true)
allowed=${allowed:-$online}
shards=${shards:-$(default_shards)}
[[ $shards =~ ^[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*$ ]] || die "--shards takes CPUs such as 0,2-5, not $shards"
spare=$(without "$online" "$shards")

case $work in
--list) printf '%s\n' "${checks[@]}" ;;
--check) run_checks ;;
--apply) apply_all ;;
--undo) undo_all ;;
*) die 'say --check, --apply, --undo or --list' ;;
esac
