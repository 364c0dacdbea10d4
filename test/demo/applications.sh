# shellcheck shell=bash
# The two versions of the application: a pgbench each, whose connections and
# prepared statements live through all phases.  Sourced by run.

# Statements (files in statements/) and how often each is run.
APP_STATEMENTS=(read@6 insert@2 update@4 upsert@2 delete@1 transfer@2)
APP_CONNECTIONS=4
declare -A APP_PID=()

app_column()
{
	case $1 in
		old) echo name ;;
		new) echo full_name ;;
	esac
}

# Writes the statements with the column's name as this version knows it, and
# starts to send them at a fixed rate.  Latencies count from the moment at
# which a statement was due, so a stall shows in full.
#   app_start old|new
app_start()
{
	local app=$1 dir=$DEMO_TEMP/$1 statement name scripts=()
	mkdir -p "$dir"
	for statement in "${APP_STATEMENTS[@]}"; do
		name=${statement%@*}
		sed "s/{name}/$(app_column "$app")/g; s/{app}/$app/g" \
			"$DEMO_DIR/statements/$name.sql" > "$dir/$name.sql"
		scripts+=(-f "$dir/$name.sql@${statement#*@}")
	done
	PGAPPNAME=${app}_application pgbench -U shop -n -M prepared \
		-c "$APP_CONNECTIONS" -j 1 -R "$DEMO_RATE" -T 600 \
		-l --log-prefix="$dir/log" -D rows="$DEMO_ROWS" "${scripts[@]}" \
		shop > "$dir/out" 2>&1 &
	APP_PID[$app]=$!
}

# pgbench ends a run of -T seconds by SIGALRM: sent early, it ends early, with
# every transaction finished and logged.
app_stop()
{
	local app=$1 status=0
	kill -ALRM "${APP_PID[$app]}" 2> /dev/null || true
	wait "${APP_PID[$app]}" || status=$?
	unset "APP_PID[$app]"
	if [ "$status" -ne 0 ]; then
		demo_say "the $app application ended with an error:"
		sed 's/^/    /' "$DEMO_TEMP/$app/out"
	fi
}

# Whatever still runs when the script ends.
app_kill_all()
{
	local app
	for app in "${!APP_PID[@]}"; do
		kill "${APP_PID[$app]}" 2> /dev/null
	done
}

# How many transactions of an application's statement (its place in
# APP_STATEMENTS) succeeded.
app_succeeded()
{
	awk -v script="$2" '$4 == script && $3 ~ /^[0-9]+$/ { n++ } END { print n + 0 }' \
		"$DEMO_TEMP/$1"/log.*
}

# SQL statements in one transaction of it.
app_statements_in()
{
	grep -c ';$' "$DEMO_DIR/statements/$1.sql"
}

# Statements that failed, as pgbench saw them and as the server's log has
# them; the larger of the two, as a client that loses its connection sees
# what the log does not have.
app_failed()
{
	local app=$1 seen logged
	seen=$(($(stats_log_failed "$DEMO_TEMP/$app"/log.*) +
		$(grep -cE 'aborted|error:|ERROR|FATAL' "$DEMO_TEMP/$app/out" || true)))
	logged=$(grep -cE "app=${app}_application (ERROR|FATAL|PANIC)" "$ZDM_CLUSTER_LOG" || true)
	echo $((seen > logged ? seen : logged))
}
