/**
 * The least number from 0 to `most` for which `fails`, given that it does for `most`: by doubling, then by halving. Where it does
 * not fail for all numbers from the least on, one for which it fails and for whose predecessor it does not.
 */
export async function fewest(most: number, fails: (count: number) => Promise<boolean>): Promise<number> {
  let good = -1;
  let bad = most;
  for (let count = 0; count < most; count = Math.max(1, count * 2)) {
    if (await fails(count)) {
      bad = count;
      break;
    }
    good = count;
  }
  while (bad - good > 1) {
    const middle = Math.floor((good + bad) / 2);
    if (await fails(middle)) bad = middle;
    else good = middle;
  }
  return bad;
}
