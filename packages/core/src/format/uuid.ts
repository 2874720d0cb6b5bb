export { isUuid, newUuid, nullUuid } from '@raidkit/bdev';
