/** A command line, as it stands behind `$ `, and what came of it. */
export type RunLine = (line: string, entry: string) => Promise<string>;

/** The text with what its console blocks show replaced by what `run` gives for each of their command lines. */
export async function replayConsole(text: string, run: RunLine): Promise<string> {
  let shown = text;
  for (const [block, body = ''] of text.matchAll(/```console\n([\s\S]*?)```/g)) {
    let now = '';
    for (const entry of body.split(/^(?=\$ )/m)) {
      const [line = ''] = entry.split('\n');
      now += `${line}\n${await run(line.slice(2), entry)}`;
    }
    shown = shown.replace(block, () => `\`\`\`console\n${now}\`\`\``);
  }
  return shown;
}

/** Takes out of an output what differs from run to run, and what only a terminal needs. `folder`: where the test's disks are. */
export function makeAlike(folder: string): (text: string) => string {
  const uuids = new Map<string, string>();
  const uuidOf = (uuid: string): string => {
    const known = uuids.get(uuid) ?? `00000000-0000-4000-8000-${String(uuids.size + 1).padStart(12, '0')}`;
    uuids.set(uuid, known);
    return known;
  };
  return (text) =>
    text
      // eslint-disable-next-line no-control-regex -- escape sequences of terminals begin with one
      .replaceAll(/\u001b\[[0-9;?]*[A-Za-z]/g, '')
      .replaceAll('\r', '')
      .replaceAll(folder, '/disks')
      .replaceAll(/[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g, uuidOf)
      .replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z, \d+ s:/g, '2026-01-31T12:00:00.000Z, 1 s:')
      .replaceAll(/sequence {2}\d+/g, 'sequence  65536');
}
