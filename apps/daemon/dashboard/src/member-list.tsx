import type { RaidArrayInfo, RaidMember, StatusSnapshot } from '@raidkit/client';
import { formatBytes, plural } from '@raidkit/raidctl/findings';
import { memberHealth, placeOf, signs } from './words.js';

interface Props {
  array: RaidArrayInfo;
  snapshot: StatusSnapshot;
}

/** Lists the slots of an array and their devices. */
export function MemberList({ array, snapshot }: Props) {
  return (
    <ul class="members" aria-label={`Members of ${array.name}`}>
      {array.ext.members.map((member) => (
        <MemberRow key={member.slot} member={member} snapshot={snapshot} />
      ))}
    </ul>
  );
}

function MemberRow({ member, snapshot }: { member: RaidMember; snapshot: StatusSnapshot }) {
  const { name, slot, state } = member;
  const { rank, word } = memberHealth(state);
  const bdev = snapshot.bdevs.find((other) => other.name === name);
  const inner = snapshot.arrays.find((other) => other.name === name);
  const last = member.last_member?.name;
  const counts = [
    ...(member.read_errors > 0 ? [plural(member.read_errors, 'read error')] : []),
    ...(member.write_errors > 0 ? [plural(member.write_errors, 'write error')] : []),
    ...(member.repaired_blocks > 0 ? [`${plural(member.repaired_blocks, 'block')} repaired`] : []),
    ...(member.checksum_errors > 0 ? [plural(member.checksum_errors, 'checksum error')] : []),
    ...(member.bad_blocks > 0 ? [plural(member.bad_blocks, 'bad block')] : []),
  ];
  return (
    <li class={`member ${rank}`}>
      <span class="slot">slot {slot}</span>
      <span class="device">
        {inner !== undefined ? (
          <a href={`#${placeOf(inner)}`}>array {inner.name}</a>
        ) : (
          (name ?? (last === undefined ? 'empty' : `was ${last}`))
        )}
        {bdev !== undefined && <span class="detail"> {formatBytes(bdev.num_blocks * bdev.block_size)}</span>}
        {bdev !== undefined && <Path driver={bdev.driver_specific} />}
      </span>
      <span class="state">
        <span aria-hidden="true">{signs[rank]} </span>
        {word}
      </span>
      {counts.length > 0 && <span class="counts">{counts.join(', ')}</span>}
    </li>
  );
}

/** Shows the path of a file or block device. */
function Path({ driver }: { driver: Record<string, unknown> }) {
  const { aio } = driver;
  const path = typeof aio === 'object' && aio !== null && 'filename' in aio ? aio.filename : null;
  return typeof path === 'string' ? <span class="path">{path}</span> : null;
}
