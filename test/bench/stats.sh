# shellcheck shell=bash
# Numbers for the demo and the benchmarks: quantiles, pgbench's transaction
# logs and aligned tables.  Sourced; needs bash, sort and awk only.

# Quantile (nearest rank) of the numbers on standard input.
#   stats_quantile 0.99 < numbers
stats_quantile()
{
	sort -g | awk -v q="$1" '
		{ v[NR] = $1 }
		END {
			if (NR == 0) { print "nan"; exit }
			k = int(q * NR); if (k < q * NR) k++; if (k < 1) k = 1
			print v[k]
		}'
}

# Median of the numbers on standard input: the mean of the two middle ones
# where their count is even.
stats_median()
{
	sort -g | awk '
		{ v[NR] = $1 }
		END {
			if (NR == 0) { print "nan"; exit }
			h = int((NR + 1) / 2)
			print (NR % 2) ? v[h] : (v[h] + v[h + 1]) / 2
		}'
}

# Mean of the middle half of the numbers on standard input: as robust as the
# median, and finer than the whole microseconds that pgbench logs.
stats_middle_mean()
{
	sort -g | awk '
		{ v[NR] = $1 }
		END {
			if (NR == 0) { print "nan"; exit }
			from = int(NR / 4) + 1; to = NR - int(NR / 4)
			for (i = from; i <= to; i++) sum += v[i]
			print sum / (to - from + 1)
		}'
}

# Latencies in microseconds of the transactions that a pgbench -l log says
# ended inside a window of the clock, one a line.  Transactions that failed
# have no latency and are left out: stats_log_failed counts them.
#   stats_log_latencies FROM TO LOG...      (FROM, TO: seconds since 1970)
stats_log_latencies()
{
	local from=$1 to=$2
	shift 2
	awk -v from="$from" -v to="$to" '
		{ at = $5 + $6 / 1e6 }
		$3 ~ /^[0-9]+$/ && at >= from && at < to { print $3 }' "$@"
}

# How many transactions of a pgbench -l log did not succeed.
stats_log_failed()
{
	awk '$3 !~ /^[0-9]+$/ { n++ } END { print n + 0 }' "$@"
}

# Count, p50, p99 and longest of the latencies (microseconds) on standard
# input, the last three in milliseconds, tab-separated.
stats_latency_summary()
{
	sort -n | awk '
		function rank(q,	k) { k = int(q * NR); if (k < q * NR) k++; return v[k] / 1000 }
		{ v[NR] = $1 }
		END {
			if (NR == 0) { printf "0\t-\t-\t-\n"; exit }
			printf "%d\t%.2f\t%.2f\t%.1f\n", NR, rank(0.5), rank(0.99), v[NR] / 1000
		}'
}

# Seconds since 1970 with microseconds, as pgbench's log has them.
stats_now()
{
	date +%s.%6N
}

# Difference of two clock readings in milliseconds.
stats_elapsed_ms()
{
	awk -v from="$1" -v to="$2" 'BEGIN { printf "%.1f\n", (to - from) * 1000 }'
}

# Aligned table from tab-separated lines on standard input, the first of
# which is the heading.  Columns of figures stand to the right.
stats_table()
{
	awk -F '\t' '
		{
			for (i = 1; i <= NF; i++) {
				cell[NR, i] = $i
				if (length($i) > width[i]) width[i] = length($i)
				if (NR > 1 && $i !~ /^[-+<>]?[0-9.,:]*( ?(ms|s|%|us))?$/) text[i] = 1
			}
			if (NF > columns) columns = NF
		}
		END {
			for (r = 1; r <= NR; r++) {
				line = ""
				for (i = 1; i <= columns; i++)
					line = line sprintf("  %" (text[i] ? "-" : "") width[i] "s", cell[r, i])
				sub(/ +$/, "", line)
				print line
				if (r == 1) {
					line = ""
					for (i = 1; i <= columns; i++) {
						rule = sprintf("%" width[i] "s", "")
						gsub(/ /, "-", rule)
						line = line "  " rule
					}
					print line
				}
			}
		}'
}
