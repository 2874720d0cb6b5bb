import { z } from 'zod';
import type { RefusalData } from './errors.js';

/** Describes what is wrong with a call's parameters: the first invalid field, and its valid values. */
export function describeIssues(issues: readonly z.core.$ZodIssue[], schema: z.ZodType, params: unknown): RefusalData {
  const [issue] = issues;
  if (issue === undefined) return { reason: 'the parameters are invalid' };
  if (issue.code === 'unrecognized_keys') {
    const unknown = issue.keys.join(', ');
    const at = issue.path.length === 0 ? '' : `${pathOf(issue)}.`;
    const known = issue.path.length === 0 && schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
    const allowed = known.length === 0 ? {} : { allowed: known.join(', ') };
    const hint = known.length === 0 ? '' : `; the parameters are ${known.join(', ')}`;
    return { reason: `there is no parameter ${at}${unknown}${hint}`, field: `${at}${issue.keys[0] ?? ''}`, ...allowed };
  }
  const field = pathOf(issue);
  if (field === '') return { reason: `params must be an object (${issue.message})` };
  const allowed = allowedBy(issue);
  if (valueAt(params, issue.path) === undefined)
    return {
      reason: `the parameter ${field} is missing${allowed === null ? '' : `: it is ${allowed}`}`,
      field,
      ...(allowed === null ? {} : { allowed }),
    };
  if (allowed === null) return { reason: `the parameter ${field} is invalid: ${issue.message}`, field };
  return { reason: `the parameter ${field} must be ${allowed}`, field, allowed };
}

function pathOf(issue: z.core.$ZodIssue): string {
  return issue.path.map(String).join('.');
}

function valueAt(params: unknown, path: readonly PropertyKey[]): unknown {
  let value = params;
  for (const key of path) {
    if (typeof value !== 'object' || value === null) return undefined;
    value = (value as Record<PropertyKey, unknown>)[key];
  }
  return value;
}

function allowedBy(issue: z.core.$ZodIssue): string | null {
  switch (issue.code) {
    case 'invalid_type':
      return typeNames[issue.expected] ?? `of the type ${issue.expected}`;
    case 'invalid_value':
      return `one of ${issue.values.map((value) => JSON.stringify(value)).join(', ')}`;
    case 'too_small':
      return `${String(issue.minimum)} or more${sizeOf(issue.origin)}`;
    case 'too_big':
      return `${String(issue.maximum)} or less${sizeOf(issue.origin)}`;
    case 'custom':
      return issue.message;
    default:
      return null;
  }
}

const typeNames: Readonly<Record<string, string>> = {
  string: 'a string',
  int: 'an integer',
  number: 'an integer',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
  record: 'an object',
};

function sizeOf(origin: string): string {
  if (origin === 'string') return ' characters long';
  return origin === 'array' ? ' entries long' : '';
}
