/*-------------------------------------------------------------------------
 *
 * ident.c
 *	  Quoting and generated names.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <stdarg.h>

#include "catalog/pg_collation.h"
#include "commands/defrem.h"
#include "lib/stringinfo.h"
#include "mb/pg_wchar.h"
#include "nodes/value.h"
#include "utils/builtins.h"
#include "utils/formatting.h"
#include "utils/lsyscache.h"
#include "utils/varlena.h"

#include "util/ident.h"

static int	count_letters(const char *text);

/*
 * The relation's name, qualified and quoted, fit for any search_path.
 */
char *
zdm_quote_relation(Oid relid)
{
	return zdm_quote_place(zdm_relation_place(relid));
}

ZdmPlace
zdm_relation_place(Oid relid)
{
	char	   *name = get_rel_name(relid);

	if (name == NULL)
		elog(ERROR, "cache lookup failed for relation %u", relid);
	return (ZdmPlace)
	{
		get_namespace_name(get_rel_namespace(relid)), name
	};
}

char *
zdm_quote_place(ZdmPlace place)
{
	return quote_qualified_identifier(place.schema, place.name);
}

/*
 * The relation's bare name for messages; its oid where it is gone.
 */
char *
zdm_relation_label(Oid relid)
{
	char	   *name = get_rel_name(relid);

	return name ? name : psprintf("%u", relid);
}

/*
 * A migration's default name: lower case, cut at a character's end so that
 * it fits a name.
 */
char *
zdm_default_name(const char *format,...)
{
	StringInfoData raw;
	char	   *lower;
	int			len;

	initStringInfo(&raw);
	for (;;)
	{
		va_list		args;
		int			needed;

		va_start(args, format);
		needed = appendStringInfoVA(&raw, format, args);
		va_end(args);
		if (needed == 0)
			break;
		enlargeStringInfo(&raw, needed);
	}
	lower = str_tolower(raw.data, raw.len, DEFAULT_COLLATION_OID);
	len = pg_mbcliplen(lower, (int) strlen(lower), NAMEDATALEN - 1);
	lower[len] = '\0';
	return lower;
}

/*
 * The name that something has while it waits to be dropped.
 */
char *
zdm_hidden_name(const char *name)
{
	return makeObjectName("~zdm", name, NULL);
}

/*
 * A list of C strings as "a", "b" for messages.
 */
char *
zdm_names_text(List *names)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, names)
		appendStringInfo(&buf, "%s\"%s\"", buf.len ? ", " : "",
						 lfirst(lc) ? (char *) lfirst(lc) : "NULL");
	return buf.data;
}

/*
 * Column names as they are written in SQL: a, "B".
 */
char *
zdm_column_list(List *columns)
{
	List	   *quoted = NIL;
	ListCell   *lc;

	foreach(lc, columns)
		quoted = lappend(quoted, unconstify(char *, quote_identifier(lfirst(lc))));
	return zdm_join(quoted, ", ");
}

/*
 * Texts (char *) with a separator between them.
 */
char *
zdm_join(List *texts, const char *separator)
{
	StringInfoData buf;
	ListCell   *lc;

	initStringInfo(&buf);
	foreach(lc, texts)
		appendStringInfo(&buf, "%s%s", buf.len ? separator : "", (char *) lfirst(lc));
	return buf.data;
}

/*
 * Texts, one a line.
 */
char *
zdm_lines(List *texts)
{
	return zdm_join(texts, "\n");
}

/*
 * The same, at most that many, and a line that says that there are more.
 */
char *
zdm_some_lines(List *texts, int most)
{
	if (list_length(texts) > most)
		texts = lappend(list_truncate(list_copy(texts), most), pstrdup("..."));
	return zdm_lines(texts);
}

bool
zdm_is_among(List *texts, const char *text)
{
	ListCell   *lc;

	foreach(lc, texts)
	{
		if (lfirst(lc) != NULL && strcmp(lfirst(lc), text) == 0)
			return true;
	}
	return false;
}

/*
 * Refuse a list of column names that an argument gives where one of them is
 * no name, or two are the same, or would be without quotes.
 */
void
zdm_check_names(List *names, const char *argument)
{
	ListCell   *lc,
			   *other;

	foreach(lc, names)
	{
		char	   *name = lfirst(lc);

		if (name == NULL || name[0] == '\0')
			ereport(ERROR,
					errcode(ERRCODE_INVALID_NAME),
					errmsg("a name in \"%s\" is empty", argument),
					errhint("Name the column."));
		if (strlen(name) >= NAMEDATALEN)
			ereport(ERROR,
					errcode(ERRCODE_NAME_TOO_LONG),
					errmsg("name \"%s\" in \"%s\" is longer than %d bytes",
						   name, argument, NAMEDATALEN - 1),
					errhint("Choose a shorter one."));
		foreach(other, names)
		{
			if (other == lc)
				break;
			if (pg_strcasecmp(lfirst(other), name) == 0)
				ereport(ERROR,
						errcode(ERRCODE_DUPLICATE_COLUMN),
						errmsg("\"%s\" names \"%s\" and \"%s\"", argument,
							   (char *) lfirst(other), name),
						errhint("Name each column once; names that differ in case alone are taken for one another by whoever does not quote them."));
		}
	}
}

/*
 * A relation's name as it is written in SQL, with or without a schema: a list
 * of one or two String nodes.  argument: what the caller knows it as.
 */
List *
zdm_relation_name(const char *text, const char *argument)
{
	int			letters = count_letters(text);
	List	   *names;
	ListCell   *lc;

	if (!SplitIdentifierString(pstrdup(text), '.', &names) ||
		names == NIL || list_length(names) > 2)
		ereport(ERROR,
				errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				errmsg("%s \"%s\" is not the name of a table", argument, text),
				errhint("Write name or schema.name, each part in double quotes where it needs them."));
	names = textToQualifiedNameList(cstring_to_text(text));
	foreach(lc, names)
		letters -= count_letters(strVal(lfirst(lc)));
	if (letters != 0)
		ereport(ERROR,
				errcode(ERRCODE_NAME_TOO_LONG),
				errmsg("%s \"%s\" is longer than %d bytes", argument, text, NAMEDATALEN - 1),
				errhint("Give a shorter one."));
	return names;
}

/*
 * The bytes of a name that quoting neither adds nor takes away: the server
 * cuts a name that is too long without a word.
 */
static int
count_letters(const char *text)
{
	int			count = 0;

	for (const char *c = text; *c != '\0'; c++)
		if (*c != '"' && *c != '.' && !isspace((unsigned char) *c))
			count++;
	return count;
}
