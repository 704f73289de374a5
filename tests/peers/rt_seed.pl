# What an empty RT needs for the tests: two accounts with exactly the rights that the connector asks for, a queue beside
# another one, and custom fields. Run once, on a fresh database.
use strict;
use warnings;
use lib '/usr/share/request-tracker5/lib';
use RT;
RT::LoadConfig();
RT::Init();

my ($root_password, $password, $analyst_password) = @ARGV;

sub must {
    my ($ok, $message) = @_;
    die "$message\n" unless $ok;
}

sub made {
    my ($class, %with) = @_;
    my $object = $class->new(RT->SystemUser);
    must($object->Create(%with));
    return $object;
}

my $root = RT::User->new(RT->SystemUser);
$root->Load('root');
must($root->SetPassword($root_password));
my $login = made('RT::User', Name => 'lockstep', EmailAddress => 'lockstep@rt.test', Password => $password, Privileged => 1);
my $analyst
    = made('RT::User', Name => 'analyst', EmailAddress => 'analyst@rt.test', Password => $analyst_password, Privileged => 1);
# A clock that is not UTC's must not matter.
must($login->SetTimezone('Asia/Kolkata'));

my @queues = map { made('RT::Queue', Name => $_) } 'SOC', 'Other', q{It's "SOC" \ 2};
made('RT::Queue', Name => 'Secret');
my @rights = qw(SeeQueue ShowTicket ShowTicketComments ShowOutgoingEmail CreateTicket ModifyTicket CommentOnTicket
    OwnTicket ReassignTicket SeeCustomField ModifyCustomField);
for my $queue (@queues) {
    for my $right (@rights) {
        must($login->PrincipalObj->GrantRight(Right => $right, Object => $queue));
        must($analyst->PrincipalObj->GrantRight(Right => $right, Object => $queue));
    }
    must($analyst->PrincipalObj->GrantRight(Right => $_, Object => $queue)) for qw(DeleteTicket ReplyToTicket);
}

my %fields = (
    Severity => ['SelectSingle', 'RT::Queue-RT::Ticket', qw(info low medium high critical)],
    SyncKey => ['FreeformSingle', 'RT::Queue-RT::Ticket'],
    RemoteID => ['FreeformSingle', 'RT::Queue-RT::Ticket'],
    Tags => ['FreeformMultiple', 'RT::Queue-RT::Ticket'],
    EntryKey => ['FreeformSingle', 'RT::Queue-RT::Ticket-RT::Transaction'],
);
for my $name (sort keys %fields) {
    my ($type, $of, @values) = @{ $fields{$name} };
    my $field = made('RT::CustomField', Name => $name, Type => $type, LookupType => $of);
    $field->AddValue(Name => $_) for @values;
    must($field->AddToObject($_)) for @queues;
}
