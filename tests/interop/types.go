// The shapes of imaginator/srpc, declared once more, for the programs beside this file.
package main

import (
	"encoding/gob"
	"time"
)

func register() {
	gob.RegisterName("*filesystem.DirectoryInode", &DirectoryInode{})
	gob.RegisterName("*filesystem.RegularInode", &RegularInode{})
	gob.RegisterName("*filesystem.ComputedRegularInode", &ComputedRegularInode{})
	gob.RegisterName("*filesystem.SymlinkInode", &SymlinkInode{})
	gob.RegisterName("*filesystem.SpecialInode", &SpecialInode{})
}

type Hash [64]byte

type DirectoryEntry struct {
	Name        string
	InodeNumber uint64
}

type DirectoryInode struct {
	EntryList     []*DirectoryEntry
	EntriesByName map[string]*DirectoryEntry
	Mode          uint32
	Uid           uint32
	Gid           uint32
}

type RegularInode struct {
	Mode             uint32
	Uid              uint32
	Gid              uint32
	MtimeNanoSeconds int32
	MtimeSeconds     int64
	Size             uint64
	Hash             Hash
}

type ComputedRegularInode struct {
	Mode   uint32
	Uid    uint32
	Gid    uint32
	Source string
}

type SymlinkInode struct {
	Uid     uint32
	Gid     uint32
	Symlink string
}

type SpecialInode struct {
	Mode             uint32
	Uid              uint32
	Gid              uint32
	MtimeNanoSeconds int32
	MtimeSeconds     int64
	Rdev             uint64
}

type InodeTable map[uint64]interface{}

type FileSystem struct {
	InodeTable       InodeTable
	NumRegularInodes uint64
	TotalDataBytes   uint64
	DirectoryCount   uint64
	DirectoryInode
}

type Filter struct{ FilterLines []string }

type Trigger struct {
	MatchLines []string
	Service    string
	SortName   string
	DoReboot   bool
	DoReload   bool
	HighImpact bool
}

type Triggers struct{ Triggers []*Trigger }

type Annotation struct {
	Object *Hash
	URL    string
}

type Package struct {
	Name    string
	Size    uint64
	Version string
}

type Tags map[string]string
type MatchTags map[string][]string

type Image struct {
	BuildBranch   string
	BuildCommitId string
	BuildGitUrl   string
	CreatedBy     string
	CreatedFor    string
	Filter        *Filter
	FileSystem    *FileSystem
	Triggers      *Triggers
	ReleaseNotes  *Annotation
	BuildLog      *Annotation
	CreatedOn     time.Time
	ExpiresAt     time.Time
	OwnerGroups   []string
	OwnerUsers    []string
	Packages      []Package
	SourceImage   string
	Tags          Tags
}

type AddImageRequest struct {
	ImageName string
	Image     *Image
}
type AddImageResponse struct{}
type ChangeImageExpirationRequest struct {
	ExpiresAt time.Time
	ImageName string
}
type ChangeImageExpirationResponse struct{ Error string }
type CheckDirectoryRequest struct{ DirectoryName string }
type CheckDirectoryResponse struct{ DirectoryExists bool }
type CheckImageRequest struct{ ImageName string }
type CheckImageResponse struct{ ImageExists bool }
type DeleteImageRequest struct{ ImageName string }
type DeleteImageResponse struct{}
type FindLatestImageRequest struct {
	BuildCommitId        string
	DirectoryName        string
	IgnoreExpiringImages bool
	TagsToMatch          MatchTags
}
type FindLatestImageResponse struct {
	ImageName string
	Error     string
}
type GetImageExpirationRequest struct{ ImageName string }
type GetImageExpirationResponse struct {
	Error     string
	ExpiresAt time.Time
}
type GetImageRequest struct {
	ImageName                  string
	IgnoreFilesystem           bool
	IgnoreFilesystemIfExpiring bool
	Timeout                    time.Duration
}
type GetImageResponse struct {
	Image                  *Image
	InformationDatabaseURL string
}
type GetFilteredImageUpdatesRequest struct{ IgnoreExpiringImages bool }
type ImageUpdate struct {
	Directory *Directory
	Name      string
	Operation uint
}
type ListSelectedImagesRequest struct {
	DirectoryName        string
	IgnoreExpiringImages bool
	TagsToMatch          MatchTags
}
type MakeDirectoryRequest struct {
	DirectoryName string
	MakeAll       bool
}
type MakeDirectoryResponse struct{}
type DirectoryMetadata struct{ OwnerGroup string }
type Directory struct {
	Name     string
	Metadata DirectoryMetadata
}
type AddObjectRequest struct {
	Length       uint64
	ExpectedHash *Hash
}
type AddObjectResponse struct {
	ErrorString string
	Hash        Hash
	Added       bool
}
type CheckObjectsRequest struct{ Hashes []Hash }
type CheckObjectsResponse struct{ ObjectSizes []uint64 }
type GetObjectsRequest struct {
	Exclusive bool
	Hashes    []Hash
}
type GetObjectsResponse struct {
	ResponseString string
	ObjectSizes    []uint64
}
type BuildImageRequest struct {
	DisableRecursiveBuild bool
	ExpiresIn             time.Duration
	GitBranch             string
	MaxSourceAge          time.Duration
	MaximumBuildDuration  time.Duration
	ReturnImage           bool
	StreamBuildLog        bool
	StreamName            string
	Variables             map[string]string
}
type BuildImageResponse struct {
	Image                     *Image
	ImageName                 string
	BuildLog                  []byte
	ErrorString               string
	NeedSourceImage           bool
	SourceImage               string
	SourceImageBuildVariables map[string]string
	SourceImageGitCommitId    string
}
type GetDependenciesRequest struct{ MaxAge time.Duration }
type Nothing struct{}
type GetDependenciesResult struct {
	FetchLog           []byte
	GeneratedAt        time.Time
	LastAttemptAt      time.Time
	LastAttemptError   string
	StreamToSource     map[string]string
	UnbuildableSources map[string]struct{}
}
type GetDependenciesResponse struct {
	GetDependenciesResult
	Error string
}

type GetDirectedGraphRequest struct {
	Excludes []string
	Includes []string
	MaxAge   time.Duration
}
type GetDirectedGraphResult struct {
	FetchLog         []byte
	GeneratedAt      time.Time
	GraphvizDot      []byte
	LastAttemptAt    time.Time
	LastAttemptError string
}
type GetDirectedGraphResponse struct {
	GetDirectedGraphResult
	Error string
}
type DisableAutoBuildsRequest struct{ DisableFor time.Duration }
type DisableAutoBuildsResponse struct {
	DisabledUntil time.Time
	Error         string
}
type DisableBuildRequestsRequest struct{ DisableFor time.Duration }
type DisableBuildRequestsResponse struct {
	DisabledUntil time.Time
	Error         string
}
type StartAutoBuildsRequest struct {
	WaitForComplete bool
	WaitToStart     bool
}
type StartAutoBuildsResponse struct{ Error string }

