/** Format of replies in the transmission phase. */
export const ReplyStyle = { Simple: 0, Structured: 1, Extended: 2 } as const;
export type ReplyStyle = (typeof ReplyStyle)[keyof typeof ReplyStyle];

/**
 * Everything that client and server have negotiated with options. It is one object, so that STARTTLS can reset all of it at
 * once (CVE-2021-3716 was state that survived STARTTLS).
 */
export class Negotiated {
  replyStyle: ReplyStyle = ReplyStyle.Simple;
  /** Name of the export for which `base:allocation` was selected; null if it was not. */
  allocationExport: string | null = null;

  reset(): void {
    this.replyStyle = ReplyStyle.Simple;
    this.allocationExport = null;
  }
}
