/*-------------------------------------------------------------------------
 *
 * arguments.h
 *	  What an SQL function was called with.
 *
 *-------------------------------------------------------------------------
 */
#ifndef ZDM_ARGUMENTS_H
#define ZDM_ARGUMENTS_H

#include "fmgr.h"

extern void zdm_require(FunctionCallInfo fcinfo, int number, const char *argument);
extern char *zdm_text_argument(FunctionCallInfo fcinfo, int number);
extern char *zdm_name_argument(FunctionCallInfo fcinfo, int number, const char *argument);
extern char *zdm_json_argument(FunctionCallInfo fcinfo, int number, const char *argument);
extern char *zdm_output_argument(FunctionCallInfo fcinfo, int number, Oid type);

#endif							/* ZDM_ARGUMENTS_H */
