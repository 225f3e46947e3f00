package blob

import "strings"

// CheckCollection refuses a collection name that could not be the prefix of a file name: the characters
// allowed are letters, digits, '-', '_' and '.', not '.' first, at most 128 bytes. "" is the default
// collection.
func CheckCollection(name string) error {
	bad := len(name) > 128 || strings.HasPrefix(name, ".")
	for i := 0; i < len(name) && !bad; i++ {
		c := name[i]
		bad = !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' ||
			c == '-' || c == '_' || c == '.')
	}
	if bad {
		return malformed("collection name (letters, digits, - _ ., not . first, at most 128 bytes)", name)
	}
	return nil
}

// VolumeFileName returns the base name of a volume's files, without extension: `[collection_]vid`.
func VolumeFileName(collection string, id VolumeID) string {
	if collection == "" {
		return id.String()
	}
	return collection + "_" + id.String()
}

// ParseVolumeFileName is the inverse of VolumeFileName: the collection is everything before the last '_'.
// It refuses what VolumeFileName does not write ("_3", "03"), so that no two files claim one volume.
func ParseVolumeFileName(base string) (collection string, id VolumeID, err error) {
	digits := base
	if i := strings.LastIndexByte(base, '_'); i >= 0 {
		collection, digits = base[:i], base[i+1:]
	}
	if id, err = ParseVolumeID(digits); err == nil {
		err = CheckCollection(collection)
	}
	if err == nil && base != VolumeFileName(collection, id) {
		err = malformed("volume file name", base)
	}
	if err != nil {
		return "", 0, err
	}
	return collection, id, nil
}
